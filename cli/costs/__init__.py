"""What the system costs: measured amounts times a dated table of prices."""
