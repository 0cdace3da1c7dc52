"""The studies that come with fairsweep, one YAML file each."""
