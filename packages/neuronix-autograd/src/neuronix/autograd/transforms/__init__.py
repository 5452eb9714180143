"""Derivatives as functions of functions: products with Jacobians, and whole Jacobians and Hessians."""
