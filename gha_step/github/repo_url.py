"""From a repository's URL to the API of its server.

Source: facts, kargo-host, "Kargo Git credentials" (the API base of github.com, *.ghe.com and GitHub Enterprise Server).
"""

from gha_step.contract.repo_url import RepoUrl
from gha_step.github.endpoint import Endpoint, resolve_endpoint

# github.com under its other names: pages, and SSH for those who may use port 443 only.
_GITHUB_COM = frozenset({"github.com", "www.github.com", "ssh.github.com"})


def endpoint_of(url: RepoUrl, *, allow_http: bool, verify: bool) -> Endpoint:
    """The API base of the server that ``url`` names.

    :param allow_http: whether plain http is allowed off loopback.
    :param verify: whether the server's certificate is checked.
    :raises BadEndpoint: saying what is wrong; the URL is not repeated.
    """
    if url.host in _GITHUB_COM:
        api = "https://api.github.com"
    elif url.host.endswith(".ghe.com") and not url.host.startswith("api."):
        api = f"https://api.{url.host}"
    else:
        host = f"[{url.host}]" if ":" in url.host else url.host
        scheme = "http" if url.scheme == "http" else "https"
        return resolve_endpoint(
            f"{scheme}://{host}" + (f":{url.port}" if url.port is not None else ""),
            allow_http=allow_http,
            verify=verify,
        )
    if url.scheme == "http":  # Kargo gives no credentials for such a URL, although this API is never asked by http
        resolve_endpoint(f"http://{url.host}", allow_http=allow_http)
    return resolve_endpoint(api, allow_http=allow_http, verify=verify)
