"""What ends a run that makes no sense, and what is reported of bonds, molecules and committees."""
