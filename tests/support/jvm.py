"""How the tests' JVMs run."""

# JVMs that live for minutes at most: the quick compiler alone takes half the time. It would keep
# 48 MiB of code by itself, and compile nothing more once they are full.
QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
