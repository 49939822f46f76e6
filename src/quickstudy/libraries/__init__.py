"""Policies that stand ready, and an agent that acts with all of them: whom it trusts is learnt from what happens."""
