"""What it means to a caller that one of KeyService's constraints was hit."""

from servicekit.database.errors import Conflict
from servicekit.errors import Unavailable

CONFLICTS = {
    "uq_clients_external_id_live": Conflict(
        "EXTERNAL_ID_TAKEN", "Another client has this external_id; it may belong to one only."
    ),
    "uq_exchange_api_keys_client_id_exchange_label_live": Conflict(
        "LABEL_TAKEN",
        "The client already has a key with this label on this exchange; choose another label, or rotate that key.",
    ),
    "uq_exchange_api_keys_client_id_connector_name_live": Conflict(
        "CONNECTOR_NAME_TAKEN",
        "A key of the client that was renamed since still holds the connector of this label; choose another label,"
        " or rotate that key.",
    ),
    "uq_exchange_api_keys_client_id_fingerprint_live": Conflict(
        "API_KEY_ALREADY_ADDED", "The client already has this very API key on this exchange."
    ),
    "fk_exchange_api_keys_key_id_encryption_keys": Conflict(
        "ENCRYPTION_KEY_RETIRED",
        "This replica of the service seals with a master key that was retired since it started; nothing was stored."
        " It has to be restarted with the present list of keys.",
        Unavailable,
    ),
}
