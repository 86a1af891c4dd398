"""Names of the files that say which search a folder, or its run in MLflow, is."""

SETTINGS_FILE = "settings.yaml"  # the whole of the settings, as they began
SEARCH_FILE = "search.json"  # an id that stays when the folder moves
FINGERPRINT_FILE = "fingerprint.json"  # settings, data and versions, by their hashes
HEAD_FILES = (SETTINGS_FILE, SEARCH_FILE, FINGERPRINT_FILE)
