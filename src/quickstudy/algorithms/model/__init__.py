"""Methods that plan in a model which they learn: it may adapt, and the plan with it."""
