"""A procedural chest: anatomy as signed distances, vessel trees, lesions, and their drawing on a fine grid.

Coordinates are the patient's in mm (PS3.3 section C.7.6.2.1.1): x to the patient's left, y to the back, z to the head;
the tracheal bifurcation lies near the origin. Signed distances are negative inside.
"""
