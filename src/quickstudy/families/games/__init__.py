"""Games against an opponent who is hidden."""
