"""What ``wan-core doctor`` looks at: small functions that return findings.

None of them changes anything, and none may need what another one checks: torch may be missing, the
configuration broken.
"""
