"""What the engine itself costs: many small samples, operators that do next to nothing, and operators that wait."""
