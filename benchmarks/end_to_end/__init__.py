"""The whole job: photographs to pairs of PNGs, by a plain script, by forge-run, and by PepeDP's own classes."""
