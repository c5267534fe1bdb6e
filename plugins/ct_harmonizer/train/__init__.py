"""Training of the generator on virtual scans.

recipe       what is minimised, and how: the paper's weights are the defaults
examples     crops of virtual scans, with the augmentations of the paper
losses       Huber, texture, and the adversary with its gradient penalty
texture      Gram matrices of ImageNet features
validation   patients and kernels that are never trained on
checkpoint   what is kept on the disk, and the weights that are shipped
loop         the training itself
"""
