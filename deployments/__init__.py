"""Declarations only: presets (whole settings files) and, later, work pools, schedules and automations."""
