"""Which database the settings name, for those who start services as for the services themselves.

Imports no driver: who starts a service should not have to wait for what only the service needs.
"""

from servicekit.config import ServiceSettings
from servicekit.database.url import DatabaseUrl, check_production, parse_url, url_from_components


def database_url(settings: ServiceSettings) -> DatabaseUrl:
    """Where the database is: the URL, or else the components with their local defaults."""
    if settings.database_url is not None:
        url = parse_url(settings.database_url.get_secret_value(), name=settings.origin("database_url"))
    else:
        url = url_from_components(
            host=settings.db_host,
            port=settings.db_port,
            user=settings.db_user,
            password=settings.db_password,
            database=settings.db_name,
            sslmode=settings.db_sslmode,
        )
    if settings.environment == "production":
        check_production(url)
    return url


def names_database(settings: ServiceSettings) -> bool:
    """Whether any setting says where the database is, so that not one of them is passed over in silence."""
    given = (
        settings.database_url,
        settings.db_host,
        settings.db_port,
        settings.db_user,
        settings.db_password,
        settings.db_name,
        settings.db_sslmode,
    )
    return any(each is not None for each in given)
