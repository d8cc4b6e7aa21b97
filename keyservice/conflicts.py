"""What it means to a caller that one of KeyService's unique constraints was hit."""

from servicekit.database.errors import Conflict

CONFLICTS = {
    "uq_clients_external_id_live": Conflict(
        "EXTERNAL_ID_TAKEN", "Another client has this external_id; it may belong to one only."
    ),
    "uq_exchange_api_keys_client_id_exchange_label_live": Conflict(
        "LABEL_TAKEN",
        "The client already has a key with this label on this exchange; choose another label, or rotate that key.",
    ),
    "uq_exchange_api_keys_client_id_fingerprint_live": Conflict(
        "API_KEY_ALREADY_ADDED", "The client already has this very API key on this exchange."
    ),
}
