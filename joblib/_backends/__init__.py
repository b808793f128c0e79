"""The backends: the contract they share, and those bundled with joblib."""
