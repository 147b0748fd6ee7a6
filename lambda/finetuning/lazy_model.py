"""The base of the package's documents, and how Pydantic starts quickly."""

from pydantic import BaseModel, ConfigDict

NO_PLUGINS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Of a function's environment. Pydantic would read the metadata of every package in the layer to find its
plugins, of which there are none."""


class LazyModel(BaseModel):
    """A model whose validator is built when the first document is read or made: a function imports many more models
    than it uses.
    """

    model_config = ConfigDict(defer_build=True)
