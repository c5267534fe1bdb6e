"""A virtual CT scanner and a virtual chest: known anatomy, known blur, known noise.

    phantom      a procedural 3-D chest, as exact HU on a fine grid
    materials    water and bone in every voxel, and their attenuation
    beam         tube spectrum, bowtie, detector, beam hardening and its correction
    scanner      parallel-beam line integrals, focal spot and aperture, scatter, quantum and electronic noise
    reconstruct  filtered back-projection with a kernel of known MTF
    iterative    the noise-lowering strengths of iterative reconstruction
    kernels      those MTF curves
    renditions   scanners and reconstructions as clinics choose them
    polar        the Fourier transform between pixels and projections that both share
    series       the three together: a chest series, and the truth beside it

It runs with torch, numpy and scipy alone. README.md says what is simulated and what is not.
"""
