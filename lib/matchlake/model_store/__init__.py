"""What joins the siblings: a fitted model saved, loaded, evaluated, judged and served."""
