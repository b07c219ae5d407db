"""Wire formats of upstreams, both ways. One module per dialect; `base` says what each of them must give."""
