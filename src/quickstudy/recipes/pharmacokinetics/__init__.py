"""New people's drug concentrations from their first few blood samples."""
