"""PASTA on the Atlas: what the two stages of training gain and cost, against the same data without tags."""
