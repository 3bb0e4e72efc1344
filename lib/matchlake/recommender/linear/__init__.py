"""Linear item-item models: EASE in closed form, SLIM by coordinate descent."""
