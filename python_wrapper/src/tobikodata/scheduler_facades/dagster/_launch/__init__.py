"""Launches the executable `tobiko-facade`: which cloud, which program, which process."""
