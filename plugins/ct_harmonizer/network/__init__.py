"""The paper's generator, each part under its name, and the discriminator that is its adversary in training.

    generator        G(I, MTF) = O( F^-1( Lambda( F(Gamma(I)), Omega(MTF) ) ) )
    gamma            the attention U-Net that encodes space
    omega            what brings the MTF to the spectrum's size
    lambda_          the convolution over the real and imaginary parts of the spectrum
    output           two convolutions, and the long attention path from the input
    discriminator    five layers, fully convolutional
    plain            the U-Net without physics, for the ablation
    build            a network by its architecture, new or trained
    normalisation    HU to what networks see, and the MTF as they see it

After Zarei et al., IEEE TBME 2024, doi 10.1109/TBME.2024.3428399, section II.
"""
