"""What is set: values (``values``), and how they are read (``reading``)."""

from gateway.settings.reading import Configured as Configured
from gateway.settings.reading import folder_of as folder_of
from gateway.settings.reading import load as load
from gateway.settings.reading import read as read
from gateway.settings.sense import exposed as exposed
from gateway.settings.values import AUTO as AUTO
from gateway.settings.values import CAPABILITIES as CAPABILITIES
from gateway.settings.values import EMBEDDED as EMBEDDED
from gateway.settings.values import PRIORITIES as PRIORITIES
from gateway.settings.values import SHORTEST_KEY as SHORTEST_KEY
from gateway.settings.values import BadSettings as BadSettings
from gateway.settings.values import CacheSettings as CacheSettings
from gateway.settings.values import CatalogSettings as CatalogSettings
from gateway.settings.values import Client as Client
from gateway.settings.values import Embedded as Embedded
from gateway.settings.values import Hedge as Hedge
from gateway.settings.values import LedgerSettings as LedgerSettings
from gateway.settings.values import Mistake as Mistake
from gateway.settings.values import ModelQuality as ModelQuality
from gateway.settings.values import NotFree as NotFree
from gateway.settings.values import Requests as Requests
from gateway.settings.values import ResponsesSettings as ResponsesSettings
from gateway.settings.values import Secret as Secret
from gateway.settings.values import Server as Server
from gateway.settings.values import Settings as Settings
from gateway.settings.values import Virtual as Virtual
