"""What a study will take: operations, hours, disk space."""
