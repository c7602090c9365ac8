"""Apptainer behind the container method: references to images, definitions, the registry, building, looking inside.

Called by `methods/container*`. Knows neither locks nor specs: it takes and returns values of its own.
"""
