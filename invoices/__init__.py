"""The tax office: NFS-e drafted, issued and delivered."""
