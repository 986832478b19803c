"""The pure core: what ConnectWise should hold, compared with what it holds.

Standard library only: no clock, no input or output, no database, no Flask. Everything that can
change what a customer pays is decided here, from values to values, and is tested by laws.
"""
