"""Runner processes: started, watched, ended and started again."""
