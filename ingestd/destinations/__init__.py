"""The targets: one package for each family of APIs. Each turns the server's answers into Outcomes."""
