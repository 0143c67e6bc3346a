"""The screens of what is measured: the fleet, a cluster, a tenant. Figures and charts, each with when it was taken."""
