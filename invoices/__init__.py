"""The tax office: NFS-e drafted, issued and delivered. Its rooms open with the fiscal issue; no model lives here yet."""
