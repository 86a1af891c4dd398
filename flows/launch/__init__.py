"""The one door to a run; its functions take settings, flows and folders as values.

``requests`` makes the settings of a command line, ``start`` starts and resumes, ``fork`` and ``rebuild`` make
a folder out of another search or of MLflow, ``find`` finds a search by its flow run, ``register`` publishes a
pair. What a flow does inside its folder begins with ``opening``: the lock, the lease, the fingerprint.
"""
