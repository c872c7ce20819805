// Electrostatics and dispersion of a block of pairs, and their derivatives: so3krates/physics/electrostatics.py,
// dispersion.py and switch.py have the formulas and their sources.
#pragma once

#include <cmath>

#include "far_choice.h"
#include "vector_math.h"

namespace so3krates {
namespace SO3K_VARIANT {

constexpr double kSwitchEdge = 0.01;  // S is 0 or 1 beyond it in any precision

// S(r), 1 − S(r) and S′(r), between `on` and `on` + `width`.
template <class T>
struct FarSwitch {
  Vec<T> value, rest, slope;

  SO3K_INLINE FarSwitch(Vec<T> r, T on, T inverse_width) {
    Vec<T> c = (r - on) * inverse_width;
    c = c < T(kSwitchEdge) ? all<T>(T(kSwitchEdge)) : c;
    c = c > T(1 - kSwitchEdge) ? all<T>(T(1 - kSwitchEdge)) : c;
    const Vec<T> product = c * (T(1) - c);
    const Vec<T> inverse = T(1) / product;
    // Where c was clipped, S is 0 or 1 and S′ is 0 in any precision. XLA's threads take numbers below the normal ones
    // for zero: S stays above them.
    Vec<T> difference = (T(2) * c - T(1)) * inverse;  // 1/(1−c) − 1/c
    difference = difference < T(80) ? difference : all<T>(T(80));
    const Vec<T> power = exponential<T>(difference);
    value = T(1) / (T(1) + power);
    rest = power * value;
    slope = -(value * rest) * ((T(1) - T(2) * product) * inverse * inverse) * inverse_width;
  }
};

// What the terms are of one structure.
template <class T>
struct FarConstants {
  T cutoff, coulomb, coulomb_slope;              // R, V(R), V′(R)
  T near_on, near_inverse, far_on, far_inverse;  // the switches of electrostatics and of dispersion
  T width, inverse_width, bell;                  // σ, 1/σ, 2/(√π σ)
  T radius, damping, b0, b1, b2, b3;
  T charge_unit, per_bohr, minus_hartree;

  FarConstants(const FarTerms& terms, double r) {
    const double sigma = terms.width, u = r / sigma, peak = 1.1283791670955126 / sigma;
    set(cutoff, r);
    set(coulomb, std::erf(u) / r);
    set(coulomb_slope, (peak * std::exp(-u * u) - std::erf(u) / r) / r);
    set(near_on, terms.switch_from * r);
    set(near_inverse, 1.0 / ((1.0 - terms.switch_from) * r));
    set(far_on, r - terms.switch_width);
    set(far_inverse, 1.0 / terms.switch_width);
    set(width, sigma);
    set(inverse_width, 1.0 / sigma);
    set(bell, peak);
    set(radius, terms.radius);
    set(damping, terms.damping);
    set(b0, terms.polynomial[0]);
    set(b1, terms.polynomial[1]);
    set(b2, terms.polynomial[2]);
    set(b3, terms.polynomial[3]);
    set(charge_unit, terms.coulomb);
    set(per_bohr, 1.0 / terms.bohr);
    set(minus_hartree, -terms.hartree);
  }

 private:
  static void set(T& to, double value) { to = static_cast<T>(value); }
};

// V_s(r), 1/Å, and its derivative.
template <class T>
struct FarCoulomb {
  Vec<T> value, slope;

  SO3K_INLINE FarCoulomb(const FarConstants<T>& k, Vec<T> r) {
    const Vec<T> inverse = T(1) / r, u = r * k.inverse_width;
    const Vec<T> bell = exponential<T>(-(u * u));
    const Vec<T> coulomb = error_function<T>(u, inverse * k.width, bell) * inverse;
    const FarSwitch<T> near(r, k.near_on, k.near_inverse);
    const Vec<T> inside = r - k.cutoff;
    value = (coulomb - k.coulomb) - near.rest * (k.coulomb_slope * inside);
    slope = (k.bell * bell - coulomb) * inverse + k.coulomb_slope * (near.slope * inside - near.rest);
  }
};

// Energy of dispersion in eV, its derivatives with respect to the length, Å, and to both polarisabilities.
template <class T>
struct FarDispersion {
  Vec<T> value, slope, by_first, by_second;

  SO3K_INLINE FarDispersion(const FarConstants<T>& k, Vec<T> length, Vec<T> first, Vec<T> second, Vec<T> periods) {
    // C₆ = 2 C₆_i C₆_j α_i α_j/(α_i² C₆_j + α_j² C₆_i) with periods α²/C₆.
    const Vec<T> strength = T(2) / periods;
    const Vec<T> c6 = strength * (first * second);
    const Vec<T> z = inverse_seventh_root<T>(T(0.5) * (first + second)), root = T(1) / z;
    const Vec<T> z2 = z * z, root_slope = z2 * z2 * (z2 * (T(0.5) / T(7)));  // of one polarisability

    const Vec<T> radius = k.radius * root;
    const Vec<T> width = k.b0 + radius * (k.b1 + radius * (k.b2 + radius * k.b3));
    const Vec<T> width_slope = k.radius * (k.b1 + radius * (T(2) * k.b2 + radius * (T(3) * k.b3)));
    const Vec<T> inverse_gamma = T(2) * width * width, inverse_gamma_slope = T(4) * width * width_slope;

    // Powers that leave the range of single precision are of pairs that have no energy.
    Vec<T> r = length * k.per_bohr;
    r = r < T(3000) ? r : all<T>(T(3000));
    const Vec<T> p = k.damping * root;
    const Vec<T> r2 = r * r, r3 = r2 * r, r5 = r3 * r2, r7 = r5 * r2, r9 = r7 * r2;
    const Vec<T> p2 = p * p, p3 = p2 * p, p5 = p3 * p2, p7 = p5 * p2, p9 = p7 * p2;
    const Vec<T> t6 = T(1) / (r5 * r + p5 * p), t8 = T(1) / (r7 * r + p7 * p), t10 = T(1) / (r9 * r + p9 * p);
    const Vec<T> c8 = T(5) * inverse_gamma, c10 = T(245.0 / 8.0) * (inverse_gamma * inverse_gamma);
    const Vec<T> d6 = T(6) * t6 * t6, d8 = T(8) * c8 * t8 * t8, d10 = T(10) * c10 * t10 * t10;

    const Vec<T> sum = t6 + c8 * t8 + c10 * t10;
    const Vec<T> by_r = -(d6 * r5 + d8 * r7 + d10 * r9);
    const Vec<T> by_root = inverse_gamma_slope * (T(5) * t8 + T(245.0 / 4.0) * inverse_gamma * t10) -
                           k.damping * (d6 * p5 + d8 * p7 + d10 * p9);

    const FarSwitch<T> far(length, k.far_on, k.far_inverse);
    const Vec<T> prefactor = k.minus_hartree * c6, switched = k.minus_hartree * far.value;
    value = prefactor * sum * far.value;
    slope = prefactor * (by_r * far.value * k.per_bohr + sum * far.slope);
    const Vec<T> by_alpha = c6 * (by_root * root_slope), by_c6 = strength * sum;
    by_first = switched * (by_c6 * second + by_alpha);
    by_second = switched * (by_c6 * first + by_alpha);
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
