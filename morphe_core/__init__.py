"""The codec core of Morphe: VGC, RSA and NASC.

It imports nothing from `testbed`. The spine of the testbed came first; what is here so far is
listed in the CHANGELOG.
"""
