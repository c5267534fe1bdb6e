"""How well a method harmonizes: the paper's tables on virtual patients whose truth is known, beside baselines and with intervals by patient."""
