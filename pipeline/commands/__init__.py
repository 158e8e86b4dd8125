"""Commands of stage one, and what the commands of both stages share."""
