"""The ICE client: Alibaba Cloud's Intelligent Media Services over HTTP, without Airflow.

Nothing is loaded or exported here, so that a DAG file which wants one module does not pay for the
client. Each module is one thing:

* `signature`: ACS3-HMAC-SHA256, pure functions of values.
* `operations`: one description per API action, no I/O.
* `limits`: what the service is known to refuse, checked before anything is sent.
* `models`: typed results. `errors`: the exception tree. `replies`: a reply becomes a result or an
  error.
* `endpoints`: region to host. `credentials`: where AccessKeys and tokens come from.
* `retries`: one retry flow for both clients. `rate`: the limit on requests a second.
* `client`: `IceClient` and `AsyncIceClient`. `transport`: the blocking transport whose requests are
  bounded in all.
"""
