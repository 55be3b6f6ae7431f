"""Ways to show results: contact sheets, animations, plots of losses, a view in notebooks."""
