"""How wrong the measurement is: virtual bodies of known MTF, measured by the hundred.

kernels      the curves that are put in; half lie outside the family that the fit starts from
bodies       small bodies with skin, fat, clothes, arm and table, blurred in closed form
__main__     `python -m plugins.ct_harmonizer.mtf.study --n 200 --seed 0` prints bias, RMS and coverage by kernel
"""
