"""The classical harmonizer: the paper's Eq. 2 as a regularised filter, the kernels it aims at, and the guard on its output."""
