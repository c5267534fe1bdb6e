"""Harmonizes chest CT by the MTF measured at the patient's own skin (Zarei et al., IEEE TBME 2024, doi 10.1109/TBME.2024.3428399)."""
