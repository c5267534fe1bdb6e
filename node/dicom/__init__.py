"""DICOM as the node uses it: UIDs, headers, geometry, codecs, associations."""
