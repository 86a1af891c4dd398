"""What a user names, turned into values: settings files, architectures, detectors, pools."""
