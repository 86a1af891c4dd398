"""What a user names, turned into values: settings files, folders, searches, detectors, pools ..."""
