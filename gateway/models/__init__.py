"""Re-exports; nothing is defined here."""

from gateway.models.catalog import Credential, Deployment, Provider, Route
from gateway.models.incidents import Incident, IncidentUpdate
from gateway.models.own_keys import OwnKeyHealth
from gateway.models.routing import (
    CredentialHealth,
    DeploymentVitals,
    Experiment,
    ExperimentArm,
    FailureKind,
    Fallback,
    Feedback,
    IdempotentCall,
    OwnKey,
    RoutingRule,
    RuleStep,
)
from gateway.models.storage import Batch, BatchLine, FileChunk, StoredFile, StoredResponse

__all__ = [
    "Batch",
    "BatchLine",
    "Credential",
    "CredentialHealth",
    "Deployment",
    "DeploymentVitals",
    "Experiment",
    "ExperimentArm",
    "FailureKind",
    "Fallback",
    "Feedback",
    "FileChunk",
    "IdempotentCall",
    "Incident",
    "IncidentUpdate",
    "OwnKey",
    "OwnKeyHealth",
    "Provider",
    "Route",
    "RoutingRule",
    "RuleStep",
    "StoredFile",
    "StoredResponse",
]
