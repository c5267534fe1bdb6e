"""A virtual CT scanner and a virtual chest: known anatomy, known blur, known noise.

    phantom      a procedural 3-D chest, as exact HU on a fine grid
    scanner      parallel-beam line integrals, detector aperture, quantum and electronic noise
    reconstruct  filtered back-projection with a kernel of known MTF
    kernels      those MTF curves
    polar        the Fourier transform between pixels and projections that both share
    series       the three together: a chest series, and the truth beside it

It runs with torch, numpy and scipy alone. README.md says what is simulated and what is not.
"""
