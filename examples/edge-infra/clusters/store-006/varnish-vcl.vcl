vcl 4.1;

# The cache of store-006: static content for tills and screens, served while the WAN is down.
backend default {
  .host = "127.0.0.1";
  .port = "8081";
}

sub vcl_backend_response {
  set beresp.ttl = 10m;
  set beresp.grace = 24h;
}
